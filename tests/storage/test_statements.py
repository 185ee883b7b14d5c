"""SQL files cut into statements, names of schemas, spellings of URLs: without a database."""

from __future__ import annotations

import pytest

from uno_jobs.errors import ConfigurationError, UnsupportedServer
from uno_jobs.storage.migrations import folder
from uno_jobs.storage.schema import quote_schema, render
from uno_jobs.storage.session import check_server
from uno_jobs.storage.statements import split_statements
from uno_jobs.storage.urls import hide_password, plain_url, sqlalchemy_url


@pytest.fixture(autouse=True)
def sound() -> None:
    """There is no database."""


def test_semicolons_in_bodies_strings_names_and_comments_end_nothing() -> None:
    sql = """
    -- a comment; with a semicolon
    SELECT 'one; two''s; three', "odd;name";
    CREATE FUNCTION f() AS $$ BEGIN x; y; END $$;
    CREATE FUNCTION g() AS $body$ SELECT $$;$$; $body$;
    SELECT 3
    """
    statements = list(split_statements(sql))
    assert [s.splitlines()[-1].strip() for s in statements] == [
        "SELECT 'one; two''s; three', \"odd;name\"",
        "CREATE FUNCTION f() AS $$ BEGIN x; y; END $$",
        "CREATE FUNCTION g() AS $body$ SELECT $$;$$; $body$",
        "SELECT 3",
    ]


def test_what_is_only_a_comment_is_no_statement() -> None:
    assert list(split_statements("SELECT 1; -- done;\n")) == ["SELECT 1"]


def test_every_sql_file_has_whole_statements() -> None:
    files = list((folder() / "sql").rglob("*.sql"))
    assert len(files) > 30
    for file in files:
        for statement in split_statements(file.read_text(encoding="utf-8")):
            assert any(verb in statement for verb in ("CREATE", "COMMENT ON", "INSERT INTO")), (file, statement)
            assert statement.count("$$") in (0, 2), (file, statement)


@pytest.mark.parametrize(
    ("name", "quoted"),
    [("uno_jobs", "uno_jobs"), ("user", '"user"'), ("Weird Name-2", '"Weird Name-2"'), ("ß" * 31, f'"{"ß" * 31}"')],
)
def test_names_of_schemas_are_quoted_where_sql_needs_it(name: str, quoted: str) -> None:
    assert quote_schema(name) == quoted


@pytest.mark.parametrize(
    "name", ["", "x" * 64, "ß" * 32, "pg_mine", 'a"b', "a'b", "a\\b", "a;b", "a$b", "a%b", "a:b", "a\n"]
)
def test_what_cannot_name_a_schema_is_refused(name: str) -> None:
    with pytest.raises(ConfigurationError):
        quote_schema(name)


def test_only_the_whole_word_is_rendered() -> None:
    sql = "uno_jobs.jobs my_uno_jobs uno_jobs_x 'uno_jobs' SET search_path = uno_jobs, pg_temp"
    assert render(sql, "Mine") == """"Mine".jobs my_uno_jobs uno_jobs_x '"Mine"' SET search_path = "Mine", pg_temp"""
    assert render(sql, "uno_jobs") == sql


def test_an_old_server_is_refused() -> None:
    check_server(150000)
    check_server(180002)
    with pytest.raises(UnsupportedServer, match=r"PostgreSQL 14.* 15 or later"):
        check_server(140011)


@pytest.mark.parametrize(
    "url", ["postgresql://u@h/d", "postgres://u@h/d", "postgresql+asyncpg://u@h/d", "PostgreSQL+psycopg://u@h/d"]
)
def test_any_spelling_of_a_url_is_understood(url: str) -> None:
    assert plain_url(url) == "postgresql://u@h/d"
    assert sqlalchemy_url(url, "psycopg") == "postgresql+psycopg://u@h/d"


def test_another_url_is_refused_without_showing_its_password() -> None:
    with pytest.raises(ConfigurationError) as refused:
        plain_url("mysql://me:secret@h/d")
    assert "'mysql'" in str(refused.value)
    assert "secret" not in str(refused.value)


def test_passwords_are_hidden() -> None:
    assert hide_password("postgresql://me:p:w@h:1/d") == "postgresql://me:***@h:1/d"
    assert hide_password("postgresql://h/d?user=me&password=pw&x=1") == "postgresql://h/d?user=me&password=***&x=1"


def test_several_hosts_are_understood_in_either_spelling() -> None:
    libpq = "postgresql://me:secret@one:5432,two:5433/app?target_session_attrs=read-write"
    assert plain_url(libpq) == libpq
    sqlalchemy = "postgresql+asyncpg://me:secret@/app?host=one:5432&host=two:5433&target_session_attrs=read-write"
    assert plain_url(sqlalchemy) == (
        "postgresql://me:secret@/app?host=one:5432,two:5433&target_session_attrs=read-write"
    )

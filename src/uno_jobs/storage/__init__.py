"""Everything that knows SQL: the schema, its migrations, and the statements that call its functions."""

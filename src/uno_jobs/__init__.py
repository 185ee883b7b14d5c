"""A transactional job system for Python on PostgreSQL."""

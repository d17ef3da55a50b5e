"""SQLAlchemy's own dialect compliance suite, through the gate and past it: ``python -m tests.compliance``."""

"""PIP: the state that decisions read, in SQLAlchemy tables: entitlements, consents, mandates, and their epochs."""

from datagate.stores.records import Consent, Entitlement, EntitlementKind
from datagate.stores.store import StateStore

__all__ = ["Consent", "Entitlement", "EntitlementKind", "StateStore"]

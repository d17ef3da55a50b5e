"""Which advisory locks are datagate's own, so that no caller can take one of them and hold up who writes the state.

PostgreSQL keeps advisory locks in two spaces that do not meet: of one key of 64 bits, and of two keys of 32 bits
(manual, 13.3.5). All of datagate's are of two keys, the first of which is one of ours; the space of one key is the
callers' alone, as it is any program's that uses the database.
"""

from __future__ import annotations

from typing import Final

CREATION: Final = 1684104291
"""Who creates or migrates the state; the second key is 0."""
PARTY: Final = 1684104292
"""Who changes what belongs to a party; the second key is the shard."""
PURPOSE: Final = 1684104293
"""Who changes consents for a purpose; the second key is the shard."""
AUDIT: Final = 1684104294
"""Who appends to the audit's table; the second key is 0."""

RESERVED: Final = frozenset({CREATION, PARTY, PURPOSE, AUDIT})
"""First keys that no caller may lock."""

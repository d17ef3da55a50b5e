"""Changes of consents by chance, in plain SQL."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta

# Blocks of 1,024: the ends of some, both sides of zero, and the ends of what fits.
NUMBERS = (-(2**63), -1025, -1024, -1, 0, 1, 7, 1023, 1024, 1025, 5000, 2**40, 2**63 - 1)
OTHERS = ("ann", "007", "1.0", "", "\N{FULLWIDTH DIGIT NINE}", str(2**63))
PURPOSES = ("marketing", "marketing.email", "tax")

_PUT = """
INSERT INTO datagate.consents VALUES (%s, %s, %s, %s, %s, %s, %s) ON CONFLICT (data_subject, purpose) DO UPDATE SET
    granted = excluded.granted, valid_from = excluded.valid_from, valid_until = excluded.valid_until,
    categories = excluded.categories, recipients = excluded.recipients
"""
# More than are done one by one, and over the ends of a block.
_PUT_MANY = """
INSERT INTO datagate.consents SELECT n::text, %s, %s, %s, %s, %s, %s
FROM generate_series(%s::int, %s, %s) AS n ON CONFLICT DO NOTHING
"""
_REPLACE_MANY = """
UPDATE datagate.consents SET (granted, valid_from, valid_until, categories, recipients)
    = (%s::bool, %s::timestamptz, %s::timestamptz, %s::text[], %s::text[])
WHERE purpose = %s AND data_subject_number %% 3 = %s
"""
# The key itself: an answer leaves one block, and comes into another, or into none.
_MOVE = """
UPDATE datagate.consents SET data_subject = %s, purpose = %s WHERE (data_subject, purpose) = (%s, %s)
    AND NOT EXISTS (SELECT FROM datagate.consents WHERE (data_subject, purpose) = (%s, %s))
"""


class Chance:
    """Changes of one, some, or many answers with a statement; the same for the same seed, but for the time of day."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)

    def answer(self) -> tuple[object, ...]:
        """The columns of an answer, after data subject and purpose."""
        now = datetime.now(UTC)
        begins = now + timedelta(seconds=self.random.choice((-1000, -10, -0.01, 0, 0.02, 0.05, 1000)))
        ends = begins + timedelta(seconds=self.random.choice((0.01, 0.05, 5, 2000)))
        granted = self.random.random() < 0.7
        limits = [self.random.choice((None, None, None, [], ["x"])) if granted else None for _ in range(2)]
        return granted, begins, self.random.choice((None, None, ends)), *limits

    def change(self) -> tuple[str, tuple[object, ...]]:
        """One statement."""
        one, there = (str(self.random.choice((*NUMBERS, *OTHERS))) for _ in range(2))
        purpose, other = (self.random.choice(PURPOSES) for _ in range(2))
        answer, third = self.answer(), self.random.randrange(3)
        first, step = self.random.choice((-1100, 900, 4000)), self.random.choice((1, 3, 40))
        return self.random.choice(
            (
                (_PUT, (one, purpose, *answer)),
                (_PUT, (one, purpose, *answer)),
                (_PUT, (one, purpose, *answer)),
                ("DELETE FROM datagate.consents WHERE data_subject = %s", (one,)),
                (_PUT_MANY, (purpose, *answer, first, first + 300, step)),
                (_REPLACE_MANY, (*answer, purpose, third)),
                (_MOVE, (there, other, one, purpose, there, other)),
                ("DELETE FROM datagate.consents WHERE purpose = %s AND data_subject_number %% 2 = 0", (purpose,)),
                ("SELECT datagate.renew_blocks(%s)", (third + 1,)),
            )
        )

"""Reads deep statements where there is room for them: on a thread of its own, with a large stack.

PostgreSQL reads what nests some thousand levels deep, until its own stack is at its limit (``max_stack_depth``), and
tools do send sums of thousands of terms. All that walks over a tree here recurses: in Python, whose limit is a number
that all threads share, and in C, where nothing but the size of the stack counts. So a statement is first read where it
is, within Python's usual limit; one that is too deep for that is read again here, one at a time.

The raised limit holds for all threads while it is raised, so it is one that the usual stack of theirs (8 MB) bears too,
whatever recurses there: decoders, comparisons, generators in C's hands.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from functools import wraps
from typing import ParamSpec, TypeVar

from datagate.errors import NestedTooDeeply

STACK = 128 * 1024 * 1024
"""Bytes of stack, of which only what is used becomes memory."""

FRAMES = 20_000
"""Python's recursion limit on it: some four thousand levels of a statement."""

P = ParamSpec("P")
R = TypeVar("R")

_ONE_AT_A_TIME = threading.Lock()
_PLACE = threading.local()


def is_deep() -> bool:
    """Whether this runs where there is room."""
    return getattr(_PLACE, "deep", False)


def deeply(function: Callable[P, R]) -> Callable[P, R]:
    """The function, which is called again where there is room if it raises NestedTooDeeply or RecursionError.

    Raises:
        NestedTooDeeply: There is not enough room either, or the thread cannot be had.
    """

    @wraps(function)
    def called(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return function(*args, **kwargs)
        except (NestedTooDeeply, RecursionError):
            if is_deep():
                raise NestedTooDeeply from None
        return _with_room(lambda: function(*args, **kwargs))

    return called


def _with_room(function: Callable[[], R]) -> R:
    """What the function gives on a thread with a large stack; what it raises is raised here."""
    context = copy_context()
    with _ONE_AT_A_TIME, ThreadPoolExecutor(1, "datagate: a deep statement") as pool:
        limit = sys.getrecursionlimit()
        sys.setrecursionlimit(max(limit, FRAMES))
        try:
            return _begun(pool, lambda: context.run(_inside, function)).result()
        except RecursionError:
            raise NestedTooDeeply from None
        finally:
            sys.setrecursionlimit(limit)


def _inside(function: Callable[[], R]) -> R:
    _PLACE.deep = True
    return function()


def _begun(pool: ThreadPoolExecutor, function: Callable[[], R]) -> Future[R]:
    """The size of the stack is a setting for all threads that begin from now on."""
    size = threading.stack_size(STACK)
    try:
        return pool.submit(function)
    except RuntimeError:
        # No memory is left for it, or no thread.
        raise NestedTooDeeply from None
    finally:
        threading.stack_size(size)

"""Where in a statement a node stands: what its names can see."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from datagate.verify.fence import Source
from datagate.verify.target import Level, Target
from datagate.verify.tree import Tree


@dataclass(frozen=True, slots=True)
class Scope:
    """The names of the WITH items that a FROM can see, and whether the text is a view's own.

    ``target``: what is written by the statement around, where names can mean it; ``levels``: the queries in between.
    """

    ctes: frozenset[str] = frozenset()
    in_view: bool = False
    target: Target | None = None
    levels: tuple[Level, ...] = ()

    def plus(self, *names: str) -> Scope:
        """The scope with further WITH items."""
        return replace(self, ctes=self.ctes.union(names))

    def below(self, level: Level) -> Scope:
        """The scope of a query's clauses, whose FROM gives these names."""
        return self if self.target is None else replace(self, levels=(*self.levels, level))


@dataclass(slots=True)
class Select:
    """One SELECT: what its WHERE requires, and the guarded relations in its FROM."""

    required: Sequence[Tree]
    sources: list[Source] = field(default_factory=list)

"""SQL text with named bindings in it: how policy values travel before they get a parameter number."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from datagate.model.values import ValueType


@dataclass(frozen=True, slots=True)
class Binding:
    """A named policy value (``principal.regions``, ``mandate.0.customer_id``, ``key.default.inner``) of an SQL type."""

    name: str
    type: ValueType


@dataclass(frozen=True, slots=True)
class Fragment:
    """Engine SQL in pieces: plain text, and bindings where a parameter will stand."""

    parts: tuple[str | Binding, ...]

    @classmethod
    def of(cls, *parts: str | Binding | Fragment) -> Fragment:
        """Concatenate; neighbouring texts are merged so that equal fragments compare equal."""
        flat: list[str | Binding] = []
        for part in parts:
            for piece in part.parts if isinstance(part, Fragment) else (part,):
                if isinstance(piece, str) and flat and isinstance(flat[-1], str):
                    flat[-1] += piece
                elif piece != "":
                    flat.append(piece)
        return cls(tuple(flat))

    @classmethod
    def join(cls, separator: str, fragments: Iterable[Fragment]) -> Fragment:
        """``separator.join`` for fragments."""
        out: list[str | Fragment] = []
        for fragment in fragments:
            if out:
                out.append(separator)
            out.append(fragment)
        return cls.of(*out)

    @property
    def bindings(self) -> tuple[Binding, ...]:
        """The bindings in order of first appearance, each once."""
        return tuple(dict.fromkeys(part for part in self.parts if isinstance(part, Binding)))

    def render(self, spell: Callable[[Binding], str]) -> str:
        """The final text, each binding spelled by the given function."""
        return "".join(part if isinstance(part, str) else spell(part) for part in self.parts)

"""An exhibit: what a person sees, what it was, and the words of the package's source that make it so."""

import contextlib
from dataclasses import dataclass, replace

from ddpm_lesson.lesson.kit.infection import diff_of, replaced
from ddpm_lesson.lesson.kit.source import Source

SLIPS, RANGE, SCHEDULE, TIME = "the seven slips", "ranges", "schedule", "times"
SAMPLER, TRACE, GUIDANCE, STATE = "samplers", "pixels and gradients", "guidance", "state"
ROOMS = (SLIPS, RANGE, SCHEDULE, TIME, SAMPLER, TRACE, GUIDANCE, STATE)
DOCUMENT = "the source document of this lesson"


@dataclass(frozen=True)
class Exhibit:
    """A bug that somebody had, as an edit of the package.

    Rendered in a notebook, it is a card.
    """

    name: str
    source: str  # owner/repository#number of a public thread, or the document
    symptom: str  # what a person sees, here or with other weights
    cause: str  # with a word of how it was in the thread, where that was another way
    fix: str
    target: str  # module:function that is edited, such as "diffusion:DenoiseDiffusion.loss"
    infect: tuple[str, ...]  # old words, new words, old, new, ...
    seen_by: tuple[str, ...]  # the probes made to see it
    room: str = ""

    def infected(self) -> contextlib.AbstractContextManager[None]:
        """The package with this bug in it, for as long as the ``with`` block lasts."""
        return replaced(self.target, self.infect)

    @property
    def diff(self) -> Source:
        """The edit, from the package's own source."""
        return diff_of(self.target, self.infect)

    @property
    def gone(self) -> str:
        """How to check that it is gone."""
        those = "this probe is" if len(self.seen_by) == 1 else "these probes are"
        return f"Cured when {those} content again: {', '.join(self.seen_by)}."

    def _repr_markdown_(self) -> str:
        where = f"[{self.source}](https://github.com/{self.source.replace('#', '/issues/')})"
        origin = where if "#" in self.source else self.source
        return (
            f"**{self.name}** ({self.room}; after {origin})\n\n*Symptom.* {self.symptom}\n\n*Cause.* {self.cause}\n\n"
            f"*Fix.* {self.fix}\n\n*{self.gone}*\n\n{self.diff._repr_markdown_()}"
        )


def in_room(room: str, *exhibits: Exhibit) -> tuple[Exhibit, ...]:
    """The same exhibits, each with the room that it stands in."""
    return tuple(replace(exhibit, room=room) for exhibit in exhibits)

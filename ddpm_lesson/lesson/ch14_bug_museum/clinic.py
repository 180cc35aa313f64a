"""The clinic: packages with one bug or none, and no label on them."""

import difflib
import functools
import random
from collections import Counter
from numbers import Integral
from typing import Any

from ddpm_lesson.doctor import Finding
from ddpm_lesson.lesson.ch14_bug_museum.exhibits import EXHIBITS, HIDDEN, ROOMS, Exhibit, named
from ddpm_lesson.lesson.ch14_bug_museum.matrix import Findings, found_in, sick
from ddpm_lesson.lesson.ch14_bug_museum.probes import PROBES
from ddpm_lesson.lesson.kit.exercise import CheckResult

N_EXHIBITS, N_HEALTHY, N_HIDDEN = 5, 2, 1
HEALTHY = "healthy"
WARD = 3  # the seed of the ward that the notebook visits
SHOWN = (HEALTHY, *ROOMS, *(exhibit.name for exhibit in EXHIBITS))  # what a diagnosis may be


class Clinic:
    """A ward of patients, drawn at random: some exhibits, two that are healthy, one that the text never named.

    Args:
        seed: which patients, and in which beds.
    """

    def __init__(self, seed: int = WARD):
        draw = random.Random(seed)
        ward: list[Exhibit | None] = [*draw.sample(EXHIBITS, N_EXHIBITS), *draw.sample(HIDDEN, N_HIDDEN)]
        ward += [None] * N_HEALTHY
        draw.shuffle(ward)
        self._ward = ward
        self.answers: dict[int, bool] = {}  # patient -> whether the last diagnosis was right
        self.probed: Counter[int] = Counter()  # patient -> how many probes were spent

    def __len__(self) -> int:
        return len(self._ward)

    def probe(self, patient: int, name: str) -> Finding:
        """What one probe finds in a patient, 1 to ``len(clinic)``.

        Raises:
            ValueError: if there is no such patient or probe.
        """
        if not isinstance(name, str) or name not in PROBES:
            raise ValueError(f"name must be that of a probe: {', '.join(PROBES)}; got {name!r}")
        exhibit = self._patient(patient)
        self.probed[patient] += 1
        return found_in(exhibit)[name]

    def diagnose(self, patient: int, answer: Any) -> CheckResult:
        """Whether the answer is right, and why.

        Args:
            patient: 1 to ``len(clinic)``.
            answer: an exhibit or its name, ``"healthy"``, or the name of a room for what has no name; capitals and
                articles do not count.

        Raises:
            ValueError: if there is no such patient.
        """
        exhibit = self._patient(patient)
        if answer is ... or answer is None:
            return CheckResult(False, None, f"*Your turn:* probe patient {patient}, and write down what it is.")
        said = meant(answer)
        if said is None:
            return CheckResult(False, None, f"**Not yet.** {no_name(answer)}")
        right = {HEALTHY} if exhibit is None else {exhibit.name} | ({exhibit.room} if exhibit in HIDDEN else set())
        self.answers[patient] = said in right
        if said in right:
            return CheckResult(True, None, f"**Right.** {reason(exhibit)}")
        return CheckResult(False, None, f"**Not yet.** {contradiction(exhibit, said)}")

    def score(self) -> str:
        """How many diagnoses are right, by kind of bug, and who was taken for something else: no word of what it is."""
        right = Counter(e.room if e else HEALTHY for i, e in enumerate(self._ward, 1) if self.answers.get(i))
        wrong = [str(patient) for patient, was_right in sorted(self.answers.items()) if not was_right]
        lines = [f"{room}: {right[room]} right" for room in (*ROOMS, HEALTHY) if right[room]]
        lines += [f"not right yet: {', '.join(wrong)}"] if wrong else []
        return "\n".join(lines) or "no diagnosis yet"

    def _patient(self, patient: int) -> Exhibit | None:
        if not isinstance(patient, Integral) or not 1 <= patient <= len(self):
            raise ValueError(f"patient must be a whole number from 1 to {len(self)}; got {patient!r}")
        return self._ward[patient - 1]


def plain(words: str) -> str:
    """A name as people may write it, without capitals, further spaces and the words in front of it."""
    words = " ".join(words.lower().split())
    return words.removeprefix("the ").removeprefix("room of ").removeprefix("the ")


NAMES = {plain(name): name for name in (*SHOWN, *(exhibit.name for exhibit in HIDDEN))}


def meant(answer: Any) -> str | None:
    """The name that an answer means; None if it means none."""
    words = answer.name if isinstance(answer, Exhibit) else answer
    return NAMES.get(plain(words)) if isinstance(words, str) else None


def no_name(answer: Any) -> str:
    """What a diagnosis is, for somebody whose answer was none."""
    near = difflib.get_close_matches(plain(answer), map(plain, SHOWN), 1) if isinstance(answer, str) else []
    hint = f" Did you mean {NAMES[near[0]]!r}?" if near else ""
    said = repr(answer) if isinstance(answer, str) else f"an answer of type {type(answer).__name__}"
    wanted = f"must be the name of an exhibit, {HEALTHY!r}, or a room: {', '.join(ROOMS)}"
    return f"A diagnosis {wanted}; got {said}.{hint}"


def reason(exhibit: Exhibit | None) -> str:
    """Why a right diagnosis is right."""
    if exhibit is None:
        return "All probes are content. What remains are the last room's complaints."
    name = telling(exhibit)
    return f"{exhibit.cause} Probe *{name}* says: {found_in(exhibit)[name].sentence}. The cure: {exhibit.fix}"


def telling(exhibit: Exhibit) -> str:
    """Of the probes that see a bug, the first that tells it from most others which the same probes see."""
    rivals = [other for other in (*EXHIBITS, *HIDDEN) if {*other.seen_by} == {*exhibit.seen_by} and other != exhibit]
    return max(exhibit.seen_by, key=lambda name: sum(differs(name, exhibit, other) for other in rivals))


def differs(name: str, one: Exhibit | None, other: Exhibit | None) -> bool:
    """Whether a probe says something else of one than of the other."""
    return found_in(one)[name].sentence != found_in(other)[name].sentence


def contradiction(exhibit: Exhibit | None, answer: str) -> str:
    """What the probes say against a wrong diagnosis, without giving the right one away."""
    found = found_in(exhibit)
    if answer == HEALTHY:
        return f"{len(sick(found))} probe(s) are alarmed; find them."
    if answer in ROOMS and exhibit is not None and exhibit in HIDDEN:
        name = telling(exhibit)
        return f"It has no name here, but that is not its room. Probe *{name}* says: {found[name].sentence}."
    if answer in ROOMS:
        return "A room is an answer only for a bug that this museum does not show."
    return against(named(answer), exhibit, found)


def against(supposed: Exhibit, exhibit: Exhibit | None, found: Findings) -> str:
    """The first probe that would say something else if the patient had the bug that is supposed."""
    for name in supposed.seen_by:
        if found[name].ok:
            return f"That bug would alarm the probe *{name}*, and it is content here: {found[name].sentence}."
    for name in sick(found):
        if name not in supposed.seen_by:
            return f"That bug would leave the probe *{name}* content, and here it says: {found[name].sentence}."
    name = next(name for name in sick(found) if differs(name, supposed, exhibit))
    return (
        f"The same probes are alarmed, but compare what they say. Here *{name}*: {found[name].sentence}. "
        f"With that bug: {found_in(supposed)[name].sentence}."
    )


@functools.cache
def clinic_of(seed: int) -> Clinic:
    """The clinic of a seed, made once."""
    return Clinic(seed)


def open_clinic(seed: int = WARD) -> Clinic:
    """The clinic of a seed, the same whenever it is asked for, with or without a word of the seed."""
    return clinic_of(seed)


def check_patient(patient: int, answer: Any, seed: int = WARD) -> CheckResult:
    """The answer to a diagnosis in the clinic of ``seed``."""
    return open_clinic(seed).diagnose(patient, answer)

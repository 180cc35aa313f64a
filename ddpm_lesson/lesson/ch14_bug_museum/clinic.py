"""The clinic: packages with one bug or none, and no label on them."""

import functools
import random
from collections import Counter
from typing import Any

from ddpm_lesson.doctor import Finding
from ddpm_lesson.lesson.ch14_bug_museum.exhibits import EXHIBITS, HIDDEN, ROOMS, Exhibit, named
from ddpm_lesson.lesson.ch14_bug_museum.matrix import found_in
from ddpm_lesson.lesson.ch14_bug_museum.probes import PROBES
from ddpm_lesson.lesson.kit.exercise import CheckResult

N_EXHIBITS, N_HEALTHY, N_HIDDEN = 5, 2, 1
HEALTHY = "healthy"
WARD = 3  # the seed of the ward that the notebook visits


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
        if name not in PROBES:
            raise ValueError(f"name must be that of a probe: {', '.join(PROBES)}; got {name!r}")
        exhibit = self._patient(patient)
        self.probed[patient] += 1
        return found_in(exhibit)[name]

    def diagnose(self, patient: int, answer: Any) -> CheckResult:
        """Whether the answer is right, and why.

        Args:
            patient: 1 to ``len(clinic)``.
            answer: the name of an exhibit, ``"healthy"``, or the name of a room for what has no name.
        """
        exhibit = self._patient(patient)
        if answer is ... or answer is None:
            return CheckResult(False, None, f"*Your turn:* probe patient {patient}, and write down what it is.")
        if answer not in (HEALTHY, *ROOMS, *(e.name for e in (*EXHIBITS, *HIDDEN))):
            wanted = "must be the name of an exhibit, of a room, or 'healthy'"
            return CheckResult(False, None, f"**Not yet.** A diagnosis {wanted}; got {answer!r}.")
        right = {HEALTHY} if exhibit is None else {exhibit.name} | ({exhibit.room} if exhibit in HIDDEN else set())
        self.answers[patient] = answer in right
        if answer in right:
            return CheckResult(True, None, f"**Right.** {reason(exhibit)}")
        return CheckResult(False, None, f"**Not yet.** {contradiction(exhibit, answer)}")

    def score(self) -> str:
        """Right answers by kind of bug."""
        lines = []
        for room in (*ROOMS, HEALTHY):
            here = [i for i, e in enumerate(self._ward, 1) if (e.room if e else HEALTHY) == room and i in self.answers]
            if here:
                lines.append(f"{room}: {sum(self.answers[i] for i in here)} of {len(here)} right")
        return "\n".join(lines) or "no diagnosis yet"

    def _patient(self, patient: int) -> Exhibit | None:
        if patient not in range(1, len(self) + 1):
            raise ValueError(f"patient must be 1 to {len(self)}; got {patient!r}")
        return self._ward[patient - 1]


def reason(exhibit: Exhibit | None) -> str:
    """Why a right diagnosis is right."""
    if exhibit is None:
        return "All probes are content. What remains are the last room's complaints."
    first = exhibit.seen_by[0]
    return f"{exhibit.cause} Probe *{first}* says: {found_in(exhibit)[first].sentence}. The cure: {exhibit.fix}"


def contradiction(exhibit: Exhibit | None, answer: str) -> str:
    """What the probes say against a wrong diagnosis, without giving the right one away."""
    found = found_in(exhibit)
    seen = [name for name in PROBES if not found[name].ok]
    if answer == HEALTHY:
        return f"{len(seen)} probe(s) are alarmed; find them."
    if answer in ROOMS and exhibit in HIDDEN:
        return f"It has no name here, but that is not its room. Probe *{seen[0]}* says: {found[seen[0]].sentence}."
    if answer in ROOMS:
        return "A room is an answer only for a bug that this museum does not show."
    expected = named(answer).seen_by
    for name in expected:
        if found[name].ok:
            return f"That bug would alarm the probe *{name}*, and it is content here: {found[name].sentence}."
    for name in seen:
        if name not in expected:
            return f"That bug would leave the probe *{name}* content, and here it says: {found[name].sentence}."
    return f"The same probes are alarmed, but compare what they say. Here *{seen[0]}*: {found[seen[0]].sentence}."


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

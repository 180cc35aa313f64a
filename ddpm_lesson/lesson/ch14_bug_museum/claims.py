"""What notebook 14 states, found anew; the sentences stand in the notebook word for word."""

from ddpm_lesson.lesson.ch14_bug_museum import not_bugs
from ddpm_lesson.lesson.ch14_bug_museum.clinic import Clinic
from ddpm_lesson.lesson.ch14_bug_museum.exhibits import EXHIBITS, named
from ddpm_lesson.lesson.ch14_bug_museum.exhibits.exhibit import SCHEDULE
from ddpm_lesson.lesson.ch14_bug_museum.matrix import found_in, pairs, sick, sweep
from ddpm_lesson.lesson.ch14_bug_museum.probes import DATA, findings
from ddpm_lesson.lesson.ch14_bug_museum.probes.guidance import agreement, exact_agreement
from ddpm_lesson.lesson.ch14_bug_museum.symptoms import looks_healthy
from ddpm_lesson.lesson.kit.claim import ClaimBook
from ddpm_lesson.lesson.kit.probe import fresh_generator

BOOK = ClaimBook(14)
claim = BOOK.claim


@claim("Twenty-three of the fifty draw, byte for byte, what healthy code draws", low=23, high=23, seeds=(0,), slow=True)
def exhibits_that_look_healthy(seed: int) -> float:
    """Of the exhibits, in DDPM and DDIM."""
    return sum(looks_healthy(exhibit) for exhibit in EXHIBITS)


@claim("the product of beta alarms twelve probes", low=12, high=12, seeds=(0,))
def longest_row(seed: int) -> float:
    """Alarms of the longest row, if it is that exhibit's, and it stands in the room of the schedule."""
    longest = max(EXHIBITS, key=lambda exhibit: len(exhibit.seen_by))
    return len(sick(found_in(longest))) * (longest.name == "the product of beta" and longest.room == SCHEDULE)


@claim("fifteen pairs are told apart by their sentences alone", low=15, high=15, seeds=(0,), slow=True)
def pairs_told_apart_by_words(seed: int) -> float:
    """Of all pairs of exhibits; none is alike altogether."""
    how = [told for _, _, told in pairs()]
    return how.count("sentence") + 1000 * how.count("")


@claim("with 200 steps, which end in purer noise, it misses neither dot by a thousandth", high=0.001, seeds=(0,))
def finer_steps_meet_the_dots(seed: int) -> float:
    """The larger of the two gaps."""
    steps = {"n_steps": 200, "beta_start": 0.002, "beta_end": 0.06}
    return max(abs(agreement(scale, steps) - known) for scale, known in enumerate(exact_agreement()))


@claim("a test at scale 1 alone sees nothing of it", high=1e-12, seeds=(0,))
def null_branch_at_scale_one(seed: int) -> float:
    """How far agreement with the label in the null branch is from the healthy one."""
    (sick,), (healthy,) = (sweep(exhibit, [1.0]) for exhibit in (named("the label in the null branch"), None))
    return abs(sick - healthy)


@claim("no probe is alarmed by healthy code", low=0, high=0, seeds=range(5))
def false_alarms(seed: int) -> float:
    """Probes that see something in the package as it is."""
    return sum(not finding.ok for finding in findings(seed=seed).values())


@claim("the highest of fifty is two to three times the lowest", low=1.9, high=3.1, seeds=range(5), slow=True)
def range_of_the_batches(seed: int) -> float:
    """Of a network that learns no more, on digits."""
    losses = not_bugs.digits_losses(seed)
    return float(losses.max() / losses.min())


@claim("less than half of the standard deviation is left", low=0.2, high=0.5, seeds=range(5), slow=True)
def scatter_at_even_times(seed: int) -> float:
    """Of the batches' losses with times spread evenly, over that with times drawn at random."""
    even, drawn = (not_bugs.digits_losses(seed, even=how).std() for how in (True, False))
    return float(even / drawn)


@claim("The loss falls by about a quarter", low=0.22, high=0.3, seeds=range(5))
def fall_of_the_loss(seed: int) -> float:
    """From the straight line to the perfect network."""
    return 1 - not_bugs.loss(not_bugs.perfect(), seed) / not_bugs.loss(not_bugs.perfect(line_below=60), seed)


@claim("the samples come about ten times nearer", low=9, high=12, seeds=range(5))
def gain_in_distance(seed: int) -> float:
    """Distance of the straight line's samples over the perfect network's."""
    return not_bugs.distance(not_bugs.perfect(line_below=60), seed) / not_bugs.distance(not_bugs.perfect(), seed)


@claim("More than nine tenths of the fall lie at $t < 10$", low=0.9, high=1, seeds=range(5))
def share_of_the_fall_near_the_data(seed: int) -> float:
    """What is left of the fall when the perfect network has taken the line's place at t = 10 and above."""
    line, above, perfect = (not_bugs.loss(not_bugs.perfect(line_below=t), seed) for t in (60, 10, 0))
    return (above - perfect) / (line - perfect)


@claim("hardly nearer than those of the line", low=0.9, high=1, seeds=range(5))
def distance_when_perfect_far_from_the_data(seed: int) -> float:
    """Distance with the line below t = 10 only, over that with the line everywhere."""
    line, above = (not_bugs.distance(not_bugs.perfect(line_below=t), seed) for t in (60, 10))
    return above / line


@claim("the loss falls by about a tenth", low=0.08, high=0.12, seeds=range(5))
def last_fall_of_the_loss(seed: int) -> float:
    """From the line below t = 3 to the perfect network."""
    return 1 - not_bugs.loss(not_bugs.perfect(), seed) / not_bugs.loss(not_bugs.perfect(line_below=3), seed)


@claim("the distance by about two thirds", low=0.6, high=0.73, seeds=range(5))
def last_fall_of_the_distance(seed: int) -> float:
    """The same step, in the distance of the samples."""
    return 1 - not_bugs.distance(not_bugs.perfect(), seed) / not_bugs.distance(not_bugs.perfect(line_below=3), seed)


@claim("the whole fall is smaller than the standard deviation of one batch of 64", low=0.6, high=1, seeds=range(5))
def fall_over_the_scatter_of_a_batch(seed: int) -> float:
    """From the straight line to the perfect network, in standard deviations over 2000 batches of the latter."""
    line, perfect = (not_bugs.loss(not_bugs.perfect(line_below=t), seed) for t in (60, 0))
    x0 = DATA.sample(2000 * not_bugs.BATCH, fresh_generator(seed)).float()[:, None]
    return (line - perfect) / float(not_bugs.batch_losses(not_bugs.perfect(), x0, seed).std())


@claim("less than a tenth of the spread of the data", high=0.1, seeds=range(5))
def spread_of_a_late_guess(seed: int) -> float:
    """Of the perfect x0_hat at t = 40 of 60."""
    return not_bugs.blur(40, seed)


@claim("about two and a half times as far", low=2.3, high=2.7, seeds=(0,))
def beta_over_posterior_at_ten_steps(seed: int) -> float:
    """Frechet distances as stored."""
    beta, posterior = not_bugs.few_steps()[10]
    return beta / posterior


@claim("it is the nearer of the two at 5, 10 and 20 steps", high=1, seeds=range(5))
def beta_over_posterior_of_the_perfect_network(seed: int) -> float:
    """The largest ratio of the two distances."""
    return max(beta / posterior for beta, posterior in (not_bugs.exact_few_steps(n, seed) for n in (5, 10, 20)))


@claim("about every second sheet", low=0.4, high=0.55, seeds=range(5))
def sheets_with_an_odd_one(seed: int) -> float:
    """Of 500 sheets of 64 exact draws."""
    return not_bugs.share_with_an_odd_one(seed)


@claim("three of the eight do not say what the others say", low=3, high=3, seeds=(0,), slow=True)
def patients_that_stand_out(seed: int) -> float:
    """Of the ward that the notebook visits, by one probe."""
    clinic = Clinic()
    said = [clinic.probe(patient, "shipped weights").sentence for patient in range(1, len(clinic) + 1)]
    return min(len(said) - said.count(sentence) for sentence in said)

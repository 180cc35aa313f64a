"""What the reader of notebook 13 works out: what a planted mistake does before it is planted, and who tells of one."""

from ddpm_lesson.lesson.kit.exercise import Exercise, Mistake, numbers


def turned_ends(beta):
    return 1 - beta[-1], (1 - beta).prod()


def deviations(healthy, sick):
    return (sick - healthy.mean()) / healthy.std()


check_turned_ends = Exercise(
    solution=turned_ends,
    cases=[
        (numbers(5, seed=1).double().sigmoid() * 0.5,),
        (numbers(8, seed=2).double().sigmoid() * 0.2,),
        (numbers(3, seed=3).double().sigmoid() * 0.9,),
    ],
    mistakes=(
        Mistake("not turned round", ("1 - beta[-1]", "1 - beta[0]")).says("""
            This looks like the right schedule: its own first step comes first.
            Which beta comes first when the order is reversed?
            `beta[-1]`, so the first alpha_bar is `1 - beta[-1]`."""),
        Mistake(
            "alpha_bar turned round", ("1 - beta[-1], (1 - beta).prod()", "(1 - beta).prod(), 1 - beta[0]")
        ).says("""
            This looks like a row of alpha_bar in reverse order. That is not what one gets from beta in reverse order.
            alpha_bar is a running product: which factors are in the first, and which in the last?
            Turn beta round, then take the product: one factor in the first, all of them in the last."""),
        Mistake("beta for alpha_bar", ("1 - beta[-1], (1 - beta).prod()", "beta[-1], beta[0]")).says("""
            This looks like the two ends of beta. What is asked for is alpha_bar.
            alpha_bar is what is left of the signal: what does one step leave?
            `1 - beta` of each step, multiplied up to there."""),
        Mistake("a step for all steps", ("(1 - beta).prod()", "1 - beta[0]")).says("""
            This looks like what the last step alone leaves.
            alpha_bar at the last step is what *all* steps together leave.
            The product of all `1 - beta`."""),
        Mistake("the product of beta", ("(1 - beta).prod()", "beta.prod()")).says("""
            This looks like the product of all beta: next to nothing, whatever the chain.
            beta is what a step takes. What does it leave?
            The product of all `1 - beta`."""),
        Mistake("a factor short", ("(1 - beta).prod()", "(1 - beta)[1:].prod()")).says("""
            This looks like the product without one of its factors.
            At the last step, how many steps has the image gone through?
            All of them: the product of every `1 - beta`."""),
        Mistake("the whole row", ("1 - beta[-1], (1 - beta).prod()", "(1 - beta.flip(0)).cumprod(0)")).says("""
            This looks like alpha_bar at every step.
            Asked for are two numbers: the first of these, and the last.
            Return two values, with a comma between them."""),
        Mistake(
            "roots", ("1 - beta[-1], (1 - beta).prod()", "(1 - beta[-1]) ** 0.5, (1 - beta).prod() ** 0.5")
        ).says("""
            This looks like what multiplies the image: the roots of both.
            Asked for is alpha_bar itself.
            Leave the roots out."""),
        Mistake("the ends exchanged", ("1 - beta[-1], (1 - beta).prod()", "(1 - beta).prod(), 1 - beta[-1]")).says("""
            This looks like both numbers in each other's place.
            alpha_bar falls from step to step: which of the two is larger?
            First what one step leaves, then what all leave."""),
    ),
    consequence="A product does not care for the order of its factors: the end stays where it was, and only the way "
    "there is wrong. So look at the board: which of the two numbers can it complain of?",
)

check_deviations = Exercise(
    solution=deviations,
    cases=[
        (numbers(5, seed=4).double() + 3, 7.5),
        (numbers(3, seed=5).double() * 0.01 + 0.2, 0.21),
        (numbers(9, seed=6).double() - 40, -60.0),
        (numbers(2, seed=7).double(), 0.0),
    ],
    mistakes=(
        Mistake("a share of the mean", ("/ healthy.std()", "/ healthy.mean()")).says("""
            This looks like the change as a share of the mean.
            Ten per cent are much for one number and nothing for another: what do healthy runs do among themselves?
            Divide by `healthy.std()`."""),
        Mistake("the spread of all", ("healthy.std()", "healthy.std(correction=0)")).says("""
            This looks like the standard deviation with N below the line, as if the mean were known.
            The mean was found from the same few runs. What does that cost?
            N - 1, which is what `std()` does by itself."""),
        Mistake("the error of the mean", ("healthy.std()", "(healthy.std() / len(healthy) ** 0.5)")).says("""
            This looks like standard errors: how well the mean is known.
            The question is not where the mean is, but whether *one* run is out of the ordinary.
            The spread of single runs: `healthy.std()`, without the root of their number."""),
        Mistake("variance for spread", ("healthy.std()", "healthy.var()")).says("""
            This looks like a division by the variance, which has the wrong units.
            How far does a healthy run lie from the others, typically?
            Its standard deviation: the root of the variance."""),
        Mistake("no mean taken off", ("(sick - healthy.mean())", "sick")).says("""
            This looks like the number itself, in units of the spread.
            How far from what?
            From the mean of healthy runs."""),
        Mistake("without a sign", ("(sick - healthy.mean())", "abs(sick - healthy.mean())")).says("""
            This looks like a distance without a sign: a run that is better than all would count as sick.
            What should come out for a loss that is lower than that of every healthy run?
            A number below zero: leave `abs` out."""),
        Mistake("the mean alone divided", ("(sick - healthy.mean())", "sick - healthy.mean()")).says("""
            This looks like the mean divided by the spread, and then taken off: division comes before subtraction.
            What is to be divided, the mean or the difference?
            Put the difference in parentheses."""),
        Mistake(
            "the sick one among the healthy",
            (
                "return (sick - healthy.mean()) / healthy.std()",
                "healthy = healthy.new_tensor([*healthy.tolist(), sick])\n"
                "    return (sick - healthy.mean()) / healthy.std()",
            ),
        ).says("""
            This looks like a sick run that was counted among the healthy ones: it moves the mean and widens the spread.
            Who says what is ordinary?
            Healthy runs alone."""),
        Mistake("each healthy run", ("healthy.mean()", "healthy")).says("""
            This looks like one number for each healthy run.
            Asked for is one: how far is the sick run from where healthy runs lie on average?
            `healthy.mean()`."""),
        Mistake("the sign", ("sick - healthy.mean()", "healthy.mean() - sick")).says("""
            This looks like the other way round: a worse run would come out below zero.
            Which of the two is the newcomer?
            `sick - healthy.mean()`."""),
    ),
    consequence="In units of what healthy runs do among themselves, any two measures can be compared: the larger "
    "number tells first. Three healthy runs tell that unit to a factor of four or so, five to one of two and a half.",
)

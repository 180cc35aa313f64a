"""The colours of all pictures, and which line goes with which, so that meaning is never by colour alone."""

BLACK, ORANGE, SKY, GREEN = "#000000", "#D55E00", "#56B4E9", "#009E73"  # Okabe and Ito's colours
YELLOW, BLUE, PINK, AMBER = "#F0E442", "#0072B2", "#CC79A7", "#E69F00"
GREY = "#666666"
LINES = (  # colour and dashes of the first, second .. of several curves
    (BLUE, "-"),
    (ORANGE, "--"),
    (GREEN, "-."),
    (PINK, ":"),
    (AMBER, (0, (5, 1))),
    (SKY, (0, (1, 1))),
    (GREY, (0, (7, 2, 1, 2))),
    (BLACK, (0, (3, 3))),
)

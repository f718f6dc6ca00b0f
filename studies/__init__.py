"""The paper: one short file for each artefact, its claims, and the kit that runs, collects and renders them."""

ARTEFACTS = (
    "table3",
    "table4",
    "table5",
    "table6",
    "figure1",
    "figure2",
    "figure3",
    "ablations",
)  # each has a `study()`

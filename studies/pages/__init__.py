"""All that renders: from the ledger's cells to files that a person reads."""

from pathlib import Path

TABLES = Path("paper_tables")  # below the working directory; a profile's own pages lie in a folder of its name
COMMITTED = ("paper", "mini")  # profiles whose results are in git: only these stand on the pages directly in TABLES

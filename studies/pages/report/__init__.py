"""The report page: every claim and every cell with the runs behind it, as one HTML file that needs nothing else."""

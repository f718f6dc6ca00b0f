"""The grid as SLURM jobs, through submitit."""

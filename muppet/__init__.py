"""MUPPET: massive multi-task pre-finetuning (Aghajanyan et al. 2021), as a compact core.

Importing the package costs nothing: torch and transformers are imported by the modules that train.
"""

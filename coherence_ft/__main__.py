"""`python -m coherence_ft`."""

from coherence_ft.cli.main import main

main()

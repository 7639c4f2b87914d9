"""coherence-ft: fine-tune under declared constraints, ship with proof, run with the loops on."""

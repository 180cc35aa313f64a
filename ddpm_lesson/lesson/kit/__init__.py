"""What several chapters use, each thing once: exercise, proof, panel, figure, diagram, exact mixtures, X-ray."""

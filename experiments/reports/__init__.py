"""Pages, pictures and tables about data, trainings and evaluations."""

"""What users see of results: tables, sentences, plots, timelines and waveforms."""

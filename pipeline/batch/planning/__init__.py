"""What a run would do: the pages of the INPUTs by state, the calls they need, and the time that these take."""

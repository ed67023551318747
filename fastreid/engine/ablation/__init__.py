"""Many short trainings that differ in one choice each, and what each choice changes."""

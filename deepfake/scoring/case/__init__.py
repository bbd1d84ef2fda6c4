"""A report on recordings for a newsroom or a court: what each file is, what was looked for in it, what was found."""

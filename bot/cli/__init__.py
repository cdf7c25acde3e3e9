"""What the command line does beside serving: questions and answers in a terminal."""

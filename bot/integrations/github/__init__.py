"""GitHub: issues, code, workflows; the only user of PyGithub."""

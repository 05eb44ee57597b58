"""What is fast is measured here, against what a user would pick instead. README.md says how, and why it is fair."""

"""Models of llama2.c as Hugging Face folders: readers of its two files, what they become, and the command."""

"""The builder of `fixations_folder`."""

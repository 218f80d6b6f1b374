"""What people use: applications that talk to a model as users do, and to what moves through a `Robot`."""

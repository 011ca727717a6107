//! What a user can touch: the binary, its files, its HTTP, its two commands and its README.
//!
//! `./test` builds the binary before these run. Sizes are small here; `./test --soak` runs the same tests large.

mod rooms;

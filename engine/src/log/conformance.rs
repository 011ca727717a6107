//! What every log must do: run over each implementation.

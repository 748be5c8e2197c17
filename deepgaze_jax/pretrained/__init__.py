"""Released readouts, one safetensors file per model, with their cards."""

"""Load and faults: many clients, most of them ill-behaved, on a server whose models are swapped
under them. Every request gets exactly one answer, and nothing is left behind."""

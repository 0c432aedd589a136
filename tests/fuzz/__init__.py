"""Files with anything in them: each is read or refused with one clear line."""

"""Operations written for one kind of processor."""

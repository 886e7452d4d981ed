ALTER TABLE series_drift
    ADD COLUMN change text CHECK (change IN ('quieter', 'wider')),
    ADD COLUMN noise_ratio double precision,
    ADD COLUMN swing_ratio double precision;

COMMENT ON COLUMN series_drift.change IS
    'quieter: the noise is clearly less than on any day in training, so that what stands out of it '
    'may be missed. wider: the swing is clearly wider, and flat days between keep that from being '
    'followed, quieter or not. Null for neither, and where the day or the training is too short to '
    'tell.';
COMMENT ON COLUMN series_drift.noise_ratio IS
    'Median size by which the day''s steps differ from the next, over that of the quietest day in '
    'training.';
COMMENT ON COLUMN series_drift.swing_ratio IS
    'Distance between the readings that 10 % and 90 % of the day''s are below, over that of the '
    'widest day in training.';

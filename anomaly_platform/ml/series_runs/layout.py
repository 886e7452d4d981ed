"""What the numbers of a state, of run columns and of a run model are; see `kernels`."""

#: Numbers of a state: the value of the present run, when it began, its readings; the newest
#: reading's time; when the value last fell; the day of the newest reading; then the times of the
#: last changes, newest first, and the half-hours of the last days at which it was not 0.
VALUE, SINCE, ROWS, LAST, FELL, DAY = range(6)
CHANGES, MOST_CHANGES = 6, 8
AWAY, AWAY_DAYS = CHANGES + MOST_CHANGES, 8
#: Then the hour of the newest reading (since 1970), and of its readings: how many, the sums of time
#: and value, of their squares and products, and of distances from a day ago; then for each hour of
#: a day the mean time and value, the slope, and the mean distance from a day before, and when.
HOUR, SUMS = AWAY + AWAY_DAYS, AWAY + AWAY_DAYS + 1
HOURS, PER_HOUR = SUMS + 7, 5
#: Then what counters ask for: the reading before the newest one, and its time; when the value rose
#: again after a rest that was unusual for its hours; minus the logarithm of how rare the rest is
#: that goes on; the half-hours of the last days at which the value rose.
BEFORE, BEFORE_AT, RESUMED, RESTED, ROSE = range(HOURS + 24 * PER_HOUR, HOURS + 24 * PER_HOUR + 5)
STATE_SIZE = ROSE + AWAY_DAYS
#: What states had before.
STATE_SIZES = (BEFORE, STATE_SIZE)

#: Run columns of a reading: readings of its run, its own included, and the run's microseconds;
#: the widest distance between its last eight changes and itself; the step to it and the
#: microseconds from the reading before; those since the value last fell; on how many of the last
#: seven days it was not 0 then; what the value was a day ago, and how far it usually is from that;
#: the mean of the hour after that, and when in that hour it was; the median of the last 24 hours'
#: means, where all are known; the step to it and the microseconds from the last reading but one;
#: those since the value rose again after an unusual rest.
LENGTH, LASTED, CHANGED, STEP, ELAPSED, FALLEN, AWAY_THEN, DAY_AGO, APART = range(9)
AFTER, AFTER_AT, LEVEL, STEP_OVER, ELAPSED_OVER, COUNTING = range(9, 15)
RUN_COLUMNS = 15

#: What a reading is flagged for.
ORDINARY, STUCK, TOO_LONG, CHATTER, NOT_AT_REST, AT_REST, LONG_NOW, RISE, HELD, FALL = range(10)
#: What is odd of a counter's fall: nothing, that there is one, where it ends, when it comes.
USUAL_FALL, ANY_FALL, ITS_END, ITS_MOMENT = range(4)

#: A model's constants: whether it speaks, the usual microseconds between readings, whether the
#: series is a counter, microseconds for which a reset excuses it, the value at rest, days learned
#: from; masks of half-hours at which it never and at which it always is away from rest, and what a
#: reading there that is otherwise is worth; then the tails and the values that are states.
SPEAKS, SPACING, COUNTER, EXCUSED, REST, DAYS, QUIET, QUIET_WORTH, BUSY, BUSY_WORTH = range(10)
#: Distance from the reading before, in usual ones, up to which a count belongs to its half-hour.
BESIDE = 1.5
#: A tail: the largest seen (and of runs its microseconds), from where it speaks, where it begins,
#: by how much more is e times as rare, and the logarithm of how often its beginning is passed.
TAILS, TAIL_SIZE = 10, 6
MOST, MOST_LASTED, LEAST, BEGIN, SCALE, SHARE = range(6)
#: Which tails there are: of runs of each state, of runs of all other values, of quick changes, of
#: rises.
STATES = 4
OTHERS, CHANGING, RISING, TAIL_COUNT = STATES, STATES + 1, STATES + 2, STATES + 3
STATE_VALUES = TAILS + TAIL_SIZE * TAIL_COUNT
#: What readings are worth that are at rest for longer than ever at this hour, and the readings from
#: which on that is so, for each half-hour of a day.
PHASES = 48
AGE_WORTH = STATE_VALUES + STATES
AGES = AGE_WORTH + 1
#: How far readings rarely, and typically, are from those of a day ago, and rarely from what is
#: usual; then the usual value at the beginning of each hour, and its change within it.
RARELY_APART, TYPICALLY_APART, RARELY_OFF = AGES + PHASES, AGES + PHASES + 1, AGES + PHASES + 2
USUAL = RARELY_OFF + 1
#: Of counters, in its place, as their days are not compared: the least and the most that they rise
#: in the usual time at each hour of a day.
RISES = USUAL
#: Whether the shortest window's spread forgets a single reading that is far off
#: (`series_model.input_kernels.forget_spikes`); models trained before have no such number.
FORGETS = USUAL + 48
#: Whether readings come only when the value changes. Tails of states are then of how long each was
#: held until the next, in the usual microseconds between readings.
EVENTS = FORGETS + 1
#: Begin and end, in microseconds since 1970, of what the longest runs have beyond the one next in
#: length, NaN where there are fewer; 0 in models trained before.
DEEPEST, DEEPEST_COUNT = EVENTS + 1, 50
#: Whether the hour after that of a day ago has a say where that hour was odd itself.
LOOKS_AFTER = DEEPEST + 2 * DEEPEST_COUNT
#: The usual median of a day's hours, and how far one rarely is from it; a distance of 0, as models
#: trained before have it, says nothing.
USUAL_LEVEL, RARELY_MOVED = LOOKS_AFTER + 1, LOOKS_AFTER + 2
#: What a counter's fall is worth that is like none in training, 0 where nothing is known of its
#: falls, as in models trained before; how far it usually rises at most between two readings; how
#: many resets there were, between which values they ended, and began where that is one height, from
#: which half-hour of the day on they came and in how many, where that is one time; else 0.
FALL_WORTH, USUAL_RISE, RESETS = RARELY_MOVED + 1, RARELY_MOVED + 2, RARELY_MOVED + 3
RESET_LOW, RESET_HIGH, RESET_FROM_LOW, RESET_FROM_HIGH = range(RESETS + 1, RESETS + 5)
RESET_BEGIN, RESET_SPAN = RESETS + 5, RESETS + 6
#: Whether a counter's level says nothing after it stood still, and its return from a single reading
#: far off is no anomaly; 0 in models trained before.
GOES_ON = RESET_SPAN + 1
RUN_CONSTANTS = GOES_ON + 1

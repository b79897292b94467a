-- The rows of one group. What the small integers mean is in coordinator/src/store/codec.rs.
-- Times are milliseconds since 1970; ids are positive and fit 63 bits; uuids are 16 bytes.

CREATE TABLE store (
    singleton  INTEGER NOT NULL PRIMARY KEY CHECK (singleton = 1),
    store_id   BLOB    NOT NULL CHECK (length(store_id) = 16),
    created_at INTEGER NOT NULL
) STRICT;

-- Who leads, and the first ids that were never reserved.
CREATE TABLE lease (
    group_name TEXT    NOT NULL PRIMARY KEY,
    epoch      INTEGER NOT NULL,
    xid_end    INTEGER NOT NULL,
    branch_end INTEGER NOT NULL,
    horizon    INTEGER NOT NULL
) STRICT;

CREATE TABLE resource (
    number       INTEGER NOT NULL PRIMARY KEY,
    resource_id  TEXT    NOT NULL,
    resource_uid BLOB
) STRICT;

CREATE TABLE global_transaction (
    xid             INTEGER NOT NULL PRIMARY KEY,
    name            TEXT    NOT NULL,
    node            BLOB,
    status          INTEGER NOT NULL,
    cause           INTEGER,
    timeout_ms      INTEGER NOT NULL,
    begun_at        INTEGER NOT NULL,
    ended_at        INTEGER,
    idempotency_key TEXT,
    outer_xid       INTEGER,
    undone_scopes   BLOB
) STRICT;

-- Ended transactions stay in their place as history: leaving this index is all that an end costs.
-- Statuses from 10 on are ended.
CREATE INDEX unfinished_transaction ON global_transaction (xid) WHERE status < 10;

-- The locks are a part of the row: one write, and a table of their own would have to be rebuilt in
-- memory all the same.
CREATE TABLE branch (
    xid            INTEGER NOT NULL,
    branch_id      INTEGER NOT NULL,
    sequence       INTEGER NOT NULL,
    node           BLOB    NOT NULL,
    resource       INTEGER NOT NULL,
    mode           INTEGER NOT NULL,
    scopes         BLOB,
    lock_only      INTEGER NOT NULL,
    locks          BLOB    NOT NULL,
    action_name    TEXT,
    action_payload BLOB,
    phase_one      INTEGER NOT NULL,
    phase_two      INTEGER NOT NULL,
    park_reason    INTEGER,
    park_report    BLOB,
    resolutions    BLOB,
    PRIMARY KEY (xid, branch_id)
) STRICT, WITHOUT ROWID;

CREATE INDEX parked_branch ON branch (xid) WHERE park_reason IS NOT NULL;

-- Definitions of sagas, in the order in which they were defined: a part comes before the whole.
CREATE TABLE saga_definition (
    name    TEXT    NOT NULL,
    version INTEGER NOT NULL,
    body    BLOB    NOT NULL,
    UNIQUE (name, version)
) STRICT;

-- A declared saga, beside its global transaction.
CREATE TABLE saga (
    xid     INTEGER NOT NULL PRIMARY KEY,
    name    TEXT    NOT NULL,
    version INTEGER NOT NULL,
    input   BLOB    NOT NULL,
    paused  INTEGER NOT NULL,
    words   BLOB
) STRICT;

-- A step of a saga of which there is something to keep. No row says that one is about to be done.
CREATE TABLE saga_step (
    xid           INTEGER NOT NULL,
    slot          INTEGER NOT NULL,
    state         INTEGER NOT NULL,
    since         INTEGER,
    park_reason   INTEGER,
    took_place    INTEGER NOT NULL,
    result        BLOB,
    error_code    TEXT,
    error_message TEXT,
    report        BLOB,
    PRIMARY KEY (xid, slot)
) STRICT, WITHOUT ROWID;

CREATE INDEX parked_step ON saga_step (xid) WHERE park_reason IS NOT NULL;

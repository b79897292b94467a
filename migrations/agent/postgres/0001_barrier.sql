-- What the agent keeps in a participant's database. See docs/at.md.

-- One row a branch, in every mode, written inside the branch's own local transaction. In AT mode
-- its body is the undo log. A rollback that finds none leaves a tombstone, so that a late phase one
-- is refused by the key.
CREATE TABLE IF NOT EXISTS pactum_barrier (
    xid        TEXT     NOT NULL,
    branch_id  BIGINT   NOT NULL,
    store_id   TEXT     NOT NULL,
    mode       TEXT     NOT NULL CHECK (mode IN ('at', 'tcc', 'saga', 'xa')),
    state      TEXT     NOT NULL CHECK (state IN ('open', 'undone', 'tombstone', 'spent')),
    format     BIGINT   NOT NULL,
    checksum   BIGINT   NOT NULL,
    body       TEXT     NOT NULL,
    created_at BIGINT   NOT NULL,
    changed_at BIGINT   NOT NULL,
    PRIMARY KEY (xid, branch_id)
);

-- For the purge of what is no longer needed; open rows are not in it.
CREATE INDEX IF NOT EXISTS pactum_barrier_purge ON pactum_barrier (changed_at)
    WHERE state <> 'open';

-- Which database this is: one random uid, which the coordinator binds to the declared resource id.
CREATE TABLE IF NOT EXISTS pactum_resource (
    singleton      BIGINT NOT NULL PRIMARY KEY CHECK (singleton = 1),
    resource_uid   TEXT   NOT NULL,
    schema_version BIGINT NOT NULL
);

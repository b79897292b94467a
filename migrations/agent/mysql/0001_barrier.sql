-- What the agent keeps in a participant's database. See docs/at.md.

-- One row a branch, in every mode, written inside the branch's own local transaction. In AT mode
-- its body is the undo log. A rollback that finds none leaves a tombstone, so that a late phase one
-- is refused by the key.
CREATE TABLE IF NOT EXISTS pactum_barrier (
    xid        VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    branch_id  BIGINT      NOT NULL,
    store_id   VARCHAR(32) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    mode       VARCHAR(8)  CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    state      VARCHAR(16) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    format     BIGINT      NOT NULL,
    checksum   BIGINT      NOT NULL,
    body       LONGTEXT    CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
    created_at BIGINT      NOT NULL,
    changed_at BIGINT      NOT NULL,
    PRIMARY KEY (xid, branch_id),
    -- For the purge of what is no longer needed.
    KEY pactum_barrier_purge (state, changed_at),
    CHECK (mode IN ('at', 'tcc', 'saga', 'xa')),
    CHECK (state IN ('open', 'undone', 'tombstone', 'spent'))
) ENGINE = InnoDB;

-- Which database this is: one random uid, which the coordinator binds to the declared resource id.
CREATE TABLE IF NOT EXISTS pactum_resource (
    singleton      BIGINT      NOT NULL PRIMARY KEY CHECK (singleton = 1),
    resource_uid   VARCHAR(32) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    schema_version BIGINT      NOT NULL
) ENGINE = InnoDB;

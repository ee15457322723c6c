-- Heartbeats of workers, in MySQL 8 or MariaDB 10.5 or newer. Safe to run twice: mysql DATABASE < schema.mysql.sql
-- A worker writes a row at each beat, and at its first and every hundredth one deletes up to 1000 rows of more
-- than a week ago, whoever wrote them: the table holds a week of the fleet's life and no more.

CREATE TABLE IF NOT EXISTS worker_heartbeats (
    id             BIGINT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY,
    timestamp      TIMESTAMP(3) NOT NULL DEFAULT CURRENT_TIMESTAMP(3),  -- the server's clock, right in any time zone
    worker_id      VARCHAR(255) NOT NULL,
    service_name   VARCHAR(100) NOT NULL,
    node_hostname  VARCHAR(255) NOT NULL,
    status         ENUM('alive', 'starting', 'stopping', 'error') NOT NULL,
    jobs_completed BIGINT UNSIGNED NOT NULL DEFAULT 0,                  -- since the worker started
    jobs_per_minute DOUBLE NOT NULL DEFAULT 0,                          -- over the last five minutes
    last_job_time  TIMESTAMP(3) NULL DEFAULT NULL,
    queue_depth    BIGINT UNSIGNED NULL,                                -- NULL: the broker was not asked, or did not answer
    error_message  TEXT NULL,
    -- the latest of each worker, and who has been silent; the last minutes, and what is too old
    KEY worker_heartbeats_worker (worker_id, service_name, node_hostname, timestamp),
    KEY worker_heartbeats_time (timestamp)
) DEFAULT CHARACTER SET utf8mb4;

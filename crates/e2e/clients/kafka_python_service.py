"""What kafka-python's source package leaves out of its tests: how they see a broker that somebody else has started."""


class ExternalService:
    def __init__(self, host, port):
        self.host, self.port = host, port

    def open(self):
        pass

    def close(self):
        pass

    def dump_logs(self):
        pass

    def wait_for(self, pattern, timeout=30):
        pass


class SpawnedService:
    """Brokers that the tests start themselves; the tests that do are left out."""

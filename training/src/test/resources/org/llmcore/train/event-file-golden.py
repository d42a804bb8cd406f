# Prints the golden bytes of EventFileTest: two events by TensorBoard's own record writer.
# Made with tensorboard 2.21.0 on 2026-11-23.
import io
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.record_writer import RecordWriter

out = io.BytesIO()
writer = RecordWriter(out)
writer.write(Event(wall_time=1.7e9, step=0, file_version="brain.Event:2").SerializeToString())
value = Summary.Value(tag="train/loss", simple_value=1.5)
writer.write(Event(wall_time=1.7e9, step=300, summary=Summary(value=[value])).SerializeToString())
print(out.getvalue().hex())

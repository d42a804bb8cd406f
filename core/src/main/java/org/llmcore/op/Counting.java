package org.llmcore.op;

import org.llmcore.tensor.Region;

/// The device of the memory plan: runs nothing, and its regions only count. Driving the very code that trains through it
/// gives the exact peak of every region before a byte is allocated.
public final class Counting implements HostDevice {
  @Override
  public String name() {
    return "plan";
  }

  @Override
  public Region reserve(String name, long bytes) {
    return Region.measuring(name);
  }

  @Override
  public void run(Kernel kernel) {}
}

package org.llmcore.cli;

public final class Main {
  public static void main(String[] args) throws Exception {
    var e = System.getProperty("llm.stderr");
    if (e != null && !e.isEmpty()) System.setErr(new java.io.PrintStream(new java.io.FileOutputStream(e, true), true));
    System.out.println(java.util.List.of(args) + " " + System.getProperty("llm.terminals") + " " + System.getProperty("llm.columns")+" "+System.getenv("LLM_ARGUMENTS"));
    System.err.println("err");
    if (args.length > 0 && args[0].equals("wait")) { Runtime.getRuntime().addShutdownHook(new Thread(() -> { try { Thread.sleep(1000);} catch (Exception x) {} System.err.println("orderly"); Runtime.getRuntime().halt(77); })); Thread.sleep(20000); }
    System.exit(5);
  }
}

package org.llmcore.cli;

import java.io.BufferedReader;
import java.io.File;
import java.io.FileInputStream;
import java.io.IOException;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;

/**
 * Where Java installations lie on this machine, most wanted first: what the user named, what the launcher itself runs on,
 * then the folders in which package managers and tools put them. A home is judged by its `release` file alone (JAVA_VERSION
 * and MODULES), no process is started. Source level 8: this class runs before Java 25 is found.
 */
final class JavaHomes {
  /** The module that the arithmetic needs; a runtime cut down without it is of no use. */
  private static final String MODULE = "jdk.incubator.vector";

  private final Map<String, String> environment;
  private final File root;
  private final File userHome;
  private final List<File> candidates = new ArrayList<File>();

  /**
   * @param environment environment variables
   * @param root the folder that stands for `/`
   * @param userHome the user's home folder
   * @param besideJar the folder that holds the jar, where the portable distribution keeps its runtime
   * @param running the home of the Java that runs now
   */
  JavaHomes(Map<String, String> environment, File root, File userHome, File besideJar, File running) {
    this.environment = environment;
    this.root = root;
    this.userHome = userHome;
    add(new File(besideJar, "runtime"));
    add(running);
    named("JAVA_HOME");
    for (String name : environment.keySet()) {
      if (name.startsWith("JAVA_HOME_25") || name.startsWith("JDK_25") || name.startsWith("JDK25")) named(name);
    }
  }

  /** The first suitable home, or null. Installed folders are looked through only if none of the named ones will do. */
  File find(int oldest) {
    for (File home : candidates) if (suits(home, oldest)) return home;
    candidates.clear();
    searchPath();
    searchFolders();
    File best = null;
    for (File home : candidates) {
      // The oldest suitable version is the one this program was tested with.
      if (suits(home, oldest) && (best == null || version(home) < version(best))) best = home;
    }
    return best;
  }

  /** True for a Java home of at least this version that holds all we need. */
  static boolean suits(File home, int oldest) {
    if (home == null || !java(home).isFile() || version(home) < oldest) return false;
    String modules = release(home, "MODULES");
    return modules == null || Arrays.asList(modules.split(" ")).contains(MODULE);
  }

  /** Feature version by the `release` file (`25.0.3` gives 25, `1.8.0_412` gives 8), 0 if there is none. */
  static int version(File home) {
    String text = release(home, "JAVA_VERSION");
    if (text == null) return 0;
    if (text.startsWith("1.")) text = text.substring(2);
    int end = 0;
    while (end < text.length() && end < 6 && Character.isDigit(text.charAt(end))) end++;
    return end == 0 ? 0 : Integer.parseInt(text.substring(0, end));
  }

  /** The executable of a home, whether or not it exists. */
  static File java(File home) {
    File bin = new File(home, "bin");
    File windows = new File(bin, "java.exe");
    return windows.isFile() ? windows : new File(bin, "java");
  }

  private static String release(File home, String key) {
    File file = new File(home, "release");
    if (!file.isFile()) return null;
    try (BufferedReader lines = new BufferedReader(new InputStreamReader(new FileInputStream(file), StandardCharsets.UTF_8))) {
      for (String line = lines.readLine(); line != null; line = lines.readLine()) {
        if (line.startsWith(key + "=")) return line.substring(key.length() + 1).replace("\"", "").trim();
      }
    } catch (IOException unreadable) {
      return null;
    }
    return null;
  }

  private void searchPath() {
    String path = environment.get("PATH");
    if (path == null) return;
    for (String entry : path.split(File.pathSeparator)) {
      File java = new File(entry, File.separatorChar == '\\' ? "java.exe" : "java");
      try {
        if (java.isFile()) add(java.getCanonicalFile().getParentFile().getParentFile());
      } catch (IOException unresolved) {
        // An unreadable entry of PATH offers nothing; the next may.
      }
    }
  }

  private void searchFolders() {
    String[] linux = {
      "usr/lib/jvm", "usr/lib64/jvm", "usr/java", "usr/local/java", "usr/local", "usr/local/lib/jvm", "opt", "opt/java", "opt/jdk", "usr/lib/java"
    };
    for (String folder : linux) children(new File(root, folder));
    grandchildren(new File(root, "opt/hostedtoolcache"));
    String[] mac = {"Library/Java/JavaVirtualMachines", "opt/homebrew/opt", "usr/local/opt", "opt/homebrew/Cellar/openjdk"};
    for (String folder : mac) children(new File(root, folder));
    String[] home = {
      ".sdkman/candidates/java", ".jdks", ".gradle/jdks", ".jbang/cache/jdks", ".asdf/installs/java", ".local/share/mise/installs/java",
      ".jabba/jdk", ".jenv/versions", "Library/Java/JavaVirtualMachines", "scoop/apps", "jdks"
    };
    for (String folder : home) children(new File(userHome, folder));
    String[] vendors = {
      "Java", "Eclipse Adoptium", "Microsoft", "Amazon Corretto", "Zulu", "BellSoft", "SapMachine", "OpenJDK", "RedHat", "Semeru", "GraalVM"
    };
    for (String variable : new String[] {"ProgramFiles", "ProgramW6432", "LOCALAPPDATA"}) {
      String folder = environment.get(variable);
      if (folder == null) continue;
      for (String vendor : vendors) {
        children(new File(folder, vendor));
        children(new File(new File(folder, "Programs"), vendor));
      }
    }
    toolchains(new File(userHome, ".m2/toolchains.xml"));
    String sdkman = environment.get("SDKMAN_CANDIDATES_DIR");
    if (sdkman != null) children(new File(sdkman, "java"));
  }

  /** Homes that Maven's toolchains file names. */
  private void toolchains(File file) {
    if (!file.isFile() || file.length() > 1 << 20) return;
    try (BufferedReader lines = new BufferedReader(new InputStreamReader(new FileInputStream(file), StandardCharsets.UTF_8))) {
      for (String line = lines.readLine(); line != null; line = lines.readLine()) {
        int start = line.indexOf("<jdkHome>");
        int end = line.indexOf("</jdkHome>");
        if (start >= 0 && end > start) add(new File(line.substring(start + "<jdkHome>".length(), end).trim()));
      }
    } catch (IOException unreadable) {
      // A file we may not read names no home.
    }
  }

  private void grandchildren(File folder) {
    File[] entries = folder.listFiles();
    if (entries == null) return;
    for (File entry : entries) {
      children(entry);
      File[] inner = entry.listFiles();
      if (inner != null) for (File version : inner) children(version);
    }
  }

  private void children(File folder) {
    File[] entries = folder.listFiles();
    if (entries == null) return;
    Arrays.sort(entries);
    for (File entry : entries) {
      add(entry);
      add(new File(entry, "Contents/Home"));
      add(new File(entry, "libexec/openjdk.jdk/Contents/Home"));
      add(new File(entry, "current"));
    }
  }

  private void named(String variable) {
    String value = environment.get(variable);
    if (value != null && !value.trim().isEmpty()) add(new File(value.trim()));
  }

  private void add(File home) {
    if (home != null) candidates.add(home);
  }
}

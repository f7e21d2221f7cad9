"""What is read from files of video and sound, by FFmpeg."""

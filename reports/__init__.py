"""Views of a run folder: frames, tables, figures, MLflow. Reads records, never runs anything."""
